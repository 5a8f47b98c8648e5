"""What is applied, and what was landed and published: versioned JSON, no Spark."""
