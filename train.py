"""`python train.py model=alexnet norm=custom` is one run, `-m norm=none,torch,custom seed=0,1,2` is a sweep."""

from normlab.main import main

if __name__ == "__main__":
    main()
