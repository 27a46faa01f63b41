"""Floor 0: errors, progress, atomic files, checksums and records. Imports nothing of ours."""
