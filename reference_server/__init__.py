"""A small SMTP server that loses nothing and answers SMTPStatus. In the order in which a mail meets them:

smtp        the listening socket, and a good end for all sessions
connection  the socket of one session: counting, time, room
session     SMTP as a state machine: bytes in, replies and events out
command     command lines as values      address  who, read strictly      body  a message's content, and its end
reply       what is said to clients      event    what happens            limits  what clients may ask for
spool       content on its way           intake   the way of a message after its final dot
transform   a message through external programs
delivery    a message into Maildirs, durable before 250
trace       Received and Return-Path
status      the counters and the switch, as SMTPStatus tells them
config, log, __main__    the smtpstatus-server command
letter, traffic          the smtpstatus-traffic command
"""
