module github.com/themis-bft/themis

go 1.26
