"""The release of the site, shown at the foot of its page."""

VERSION = "1"
