"""Settings of the tests' Spark: most of a small query's time is the JVM's, which compiles the code that Spark generates
and then optimises what runs once. Most jobs that tests start as processes of their own keep Spark's defaults.
"""

from __future__ import annotations

JVM_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseParallelGC"
QUICK_QUERIES = {
    "spark.sql.codegen.wholeStage": False,
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    # Nobody looks at Spark's pages: what they would show is not drawn up and not kept.
    "spark.sql.ui.explainMode": "simple",
    "spark.sql.ui.retainedExecutions": 5,
    "spark.ui.retainedJobs": 5,
    "spark.ui.retainedStages": 5,
    "spark.ui.retainedTasks": 50,
}
