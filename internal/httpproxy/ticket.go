package httpproxy

const ticketKeySize = 32
