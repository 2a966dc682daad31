"""The whole product under fire: real processes, a world that is never killed, a seeded nemesis."""
