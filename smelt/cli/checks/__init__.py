"""What `smelt doctor` looks at: each check answers findings, and none changes anything."""
