"""Golden device model and kTLS software path: what the device must do, without a clock."""
