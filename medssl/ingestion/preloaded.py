"""What worker processes have in memory when they are forked: all readers, loaded once."""

from medssl.foundation import plugins
from medssl.ingestion import decoding, readers, sniff

TASKS = (decoding.header, decoding.decode)

for _name in plugins.names(readers):
    sniff.reader(_name)
