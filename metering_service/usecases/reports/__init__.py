"""The journey of a report to its decision.

It begins with `process.py`: a report is checked, matched to its request, and handed to `admission.py` (may it run, and
how far), `whole_answers.py` (if nobody can stop it in the middle), `denial.py` (why not) or `finish.py` (its end);
`timeouts.py` ends a request that nobody speaks of. `handover.py` finds what a report goes on from where it comes from
another node or an earlier epoch.
"""
