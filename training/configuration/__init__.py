"""What `coalmine.toml` may say (`sections`), read and laid under the flags (`config`); wrong keys become sentences."""
