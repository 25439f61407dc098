"""The auditor: everything about a run checked from a read-only node and the published files, trusting nobody."""
