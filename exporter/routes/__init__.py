"""The exporter's HTTP routes.

context    what every route needs to know
scraping   /metrics, /probe and /sd
api        the targets as JSON, and their transforms
operation  health, readiness, the configuration in use, its reload
deadline   how long a reading may take
debugging  the report of /probe?debug=true
models     the documents of the API
docpage    the API's description as a page
"""
