"""The kernel's tlsdev operations over the device's commands and descriptors."""
