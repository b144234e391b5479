"""The kubelet: pod workers, image manager, status."""
