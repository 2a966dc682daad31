"""What no linter knows. Each rule is also seen to find a violation that was planted."""
