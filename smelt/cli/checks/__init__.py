"""The checks of `smelt doctor`: each returns `CheckResult`s, none changes the project."""
