"""Serving an attested checkpoint over HTTP and being paid for it. `inference.server` is the flow of one request."""
