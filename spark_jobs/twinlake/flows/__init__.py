"""The bodies of the jobs, where lake, online and models meet."""
