"""pullet: a Kubernetes node whose heart is the image pull."""

__version__ = "0.1.0"
