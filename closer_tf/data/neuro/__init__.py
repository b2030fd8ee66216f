"""Recordings: sessions of trials, spike times in bins, NWB files, the Allen Institute's data."""
