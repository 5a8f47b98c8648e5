"""How on Spark and Delta. The only package that imports pyspark."""
