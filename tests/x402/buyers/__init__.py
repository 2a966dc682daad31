"""The shortest programs that buy something with each official client, as its own docs show it."""
