"""The dashboard `tidelog top`: what a running broker says of itself, as a picture.

figures      two answers of the operation `top`, as rates and levels
wishes       what whoever looks wants to see, and the keys that say so
picture      both as text for a terminal of any size
terminal     the keys and the screen of the terminal that we are on
watching     asks once a second, for as long as somebody looks
"""
