"""The scap_ov::SparseMatMul extension op: names, packed formats, library lookup."""
