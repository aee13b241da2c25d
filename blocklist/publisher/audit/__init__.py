"""`audit`: is the account that was given of each release whole and true?"""
