"""What every ensure-image pass saw, decided and did."""
