"""Usage of an app by the minute, hour, day and month: counted, recorded as events, asked for."""
