// Package webserver deals with web servers that are not Postern's: it finds which are installed, has them check a
// configuration that package proxyconf rendered, and puts one in place so that the server goes on whatever happens.
package webserver
