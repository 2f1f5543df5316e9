"""What is deployed: ``packages`` builds the functions' zips, ``terraform/`` puts them on AWS."""
