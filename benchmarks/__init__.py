"""`make bench`: this project compared with its peers and with the limits of the system, in one run.

profile    the sizes of a run: short, for CI, and full
ratio      one measured ratio; all ratios as a table and as JSON
process    programs under test, and their use of CPU and memory
native     the C programs in this folder: the floor, and a fleet of responders
fleet      ten thousand targets, and an exporter over them
scrapers   an HTTP client that behaves like Prometheus
peers      blackbox_exporter, snmp_exporter
mailers    Postfix, OpenSMTPD, aiosmtpd, smtp-sink
scrape, probe, status, mail, storage, shards, growth      the measurements
plot       growth as a picture

Both sides of a ratio are measured alternately in the same run; the ratio is that of the medians of the rounds.
"""
