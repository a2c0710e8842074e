"""The benchmark: workloads, meters, the table, and the counts that CI looks at. Nothing of lanmail imports it."""
