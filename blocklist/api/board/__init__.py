"""Who holds which version since when, and how late they are.

routes        /v1/subscribers
board         what this process was told, put together with what the others were
rows          one row: what somebody holds, against what is live
sightings     what subscribers said they hold
lateness      since when a subscriber misses something
subscribers   everybody who was ever given a token
"""
