"""Formats and rules as pure functions: no input or output, no RPC, no clock. docs/protocol.md is the normative text."""
