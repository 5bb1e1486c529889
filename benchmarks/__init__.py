"""What `make bench` runs: this project beside its peers and the limits of the system, measured in one run.

form       how much is measured: short, for CI, and full
line       one measured ratio; all of them as a table and as JSON
process    programs under test, and what they use
native     the two C programs beside this file: the floor, and a fleet that answers
fleet      ten thousand targets, and an exporter over them
scrapers   HTTP as Prometheus speaks it
peers      blackbox_exporter, snmp_exporter, Postfix, smtp-sink
scrape, probe, status, mail, storage, shards, growth      what is measured
plot       growth as a picture

A ratio needs both its sides from the same run: they are measured in turns, and the medians of the rounds are divided.
"""
