"""`watch`: a daemon that keeps lists, exports and hooks current.

notify      what the service manager is told
waiting     long polls: who has news
consumers   exports and hooks: for whom something has changed
registry    which consumers there are
rounds      one round: pull, then the consumers
daemon      when the next round is due; signals
"""
