"""Files of the container images, and the health check that runs in them."""
