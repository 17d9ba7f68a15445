"""Train one run, or a sweep with `-m`.

python train.py model=alexnet norm=custom
python train.py -m norm=none,torch,custom seed=0,1,2
"""

from normlab.main import main

if __name__ == "__main__":
    main()
