"""What can be asked over HTTP.

scraping        /metrics, /probe and /sd
api             the state as JSON, and the switch
operation       health, readiness, reload
scrape_timeout  how long a scraper waits
debugging       an exchange told to people
examples        what the API's description shows
docpage         that description as a page
"""
