"""What differs between two releases: `routes`, `diffs` (the forms), `past`, `chain` (proof)."""
