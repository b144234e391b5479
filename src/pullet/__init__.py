"""pullet: a Kubernetes node whose heart is the image pull."""
