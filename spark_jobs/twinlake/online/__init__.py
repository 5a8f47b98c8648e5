"""How online: the store's contract, its implementations, the reader. Never imports pyspark."""
