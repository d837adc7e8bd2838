"""The queues that a campaign can be in: FireWorks and jobflow-remote, seen alike."""
