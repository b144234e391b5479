"""OCI image-, distribution- and runtime-spec words: pure values, no I/O."""
