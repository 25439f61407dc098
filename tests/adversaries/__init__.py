"""Members that lie. Each is the honest code with one seam replaced; no product file knows of them."""
