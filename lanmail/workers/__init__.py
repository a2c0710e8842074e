"""Several processes that serve side by side (``workers = N``), and the one that keeps them. With one worker nothing here is used.

The supervisor holds the ports, the lock and the control socket, and is who a service manager knows; it serves nobody. The nursery has
loaded everything and forks workers from it, so that what is the same in all of them is in memory once. A worker is the whole service,
without what is the supervisor's.

order       what a worker is told at its birth
line        frames of JSON between the supervisor and one worker
switchboard who asks whom over these lines: the supervisor's side
colleagues  a worker's side, which is interfaces.IColleagues
nursery     the program that forks; births: its channel, as the supervisor has it
worker      one worker's service, and its life
supervisor  the service that keeps them
output      what workers write, where their log goes through the supervisor's
"""
