"""What several processes of one service count together, in memory that all of them see; nothing here is used where there is one process.

Nobody locks anything. Each process writes in its own part alone, and reads everybody's: a whole is the sum, or the greatest, of the
parts. So whoever dies in the middle of a step holds nothing up, and leaves at most one entry of its own half written.
"""
