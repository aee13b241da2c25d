"""How a subscriber stands, for monitoring systems.

report      everything that is known: feeds, local decisions, exports
health      what of it is a warning, what is critical
nagios      one line with performance data, and four exit codes
textfile    figures for Prometheus' textfile collector
"""
