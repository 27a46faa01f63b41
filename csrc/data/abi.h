// built together with the other files of this folder
